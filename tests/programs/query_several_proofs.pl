% One atom through three overlapping proofs: not the sum of their probabilities.
%% answer: goal  0.35

0.5::a.
0.4::b.
0.3::c.

goal :- a, b.
goal :- b, c.
goal :- a, c.

query(goal).
