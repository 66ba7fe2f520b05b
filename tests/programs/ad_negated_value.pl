% Negating a value leaves the other values and the 'none' of the disjunction.
%% answer: may_go  0.85
%% answer: not_two  0.5
%% answer: out  0.1

0.15::lamp(red); 0.35::lamp(amber); 0.4::lamp(green).

may_go :- \+ lamp(red).
not_two :- \+ lamp(red), \+ lamp(amber).
out :- \+ lamp(red), \+ lamp(amber), \+ lamp(green).

query(may_go).
query(not_two).
query(out).
