% Negation of probabilistic atoms and of an atom that cannot be derived.
%% answer: p  0.8
%% answer: q  0.56
%% answer: r  0
%% answer: s  1

0.2::a.
0.3::b.

impossible :- fail.
p :- \+ a.
q :- \+ a, \+ b.
r :- a, \+ a.
s :- \+ impossible.

query(p).
query(q).
query(r).
query(s).
