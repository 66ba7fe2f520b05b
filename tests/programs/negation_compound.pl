% Negation of a conjunction and of a disjunction.
%% answer: not_both  0.94
%% answer: neither  0.56
%% answer: mixed  0.47
%% answer: inner  0.86

0.2::a.
0.3::b.
0.5::c.

not_both :- \+ (a, b).
neither :- \+ (a ; b).
mixed :- \+ ((a, b) ; c).
inner :- \+ (a, \+ b).

query(not_both).
query(neither).
query(mixed).
query(inner).
