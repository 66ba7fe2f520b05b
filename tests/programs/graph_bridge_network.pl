% Reliability of a bridge network: the proofs share edges, so it needs knowledge compilation.
%% answer: on  0.835

0.9::cable(a, b).
0.8::cable(a, c).
0.5::cable(b, c).
0.7::cable(b, d).
0.6::cable(c, d).

on :- cable(a, b), cable(b, d).
on :- cable(a, c), cable(c, d).
on :- cable(a, b), cable(b, c), cable(c, d).
on :- cable(a, c), cable(b, c), cable(b, d).

query(on).
