% Two queries over overlapping conjunctions, and their exclusive or.
%% answer: p  0.38
%% answer: q  0.532
%% answer: xor  0.38

0.4::a.
0.5::b.
0.6::c.
0.7::d.

p :- a, b.
p :- b, c.
q :- c, d.
q :- a, d.
xor :- p, \+ q.
xor :- q, \+ p.

query(p).
query(q).
query(xor).
