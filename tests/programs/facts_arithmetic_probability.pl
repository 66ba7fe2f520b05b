% Probabilities that are arithmetic expressions.
%% answer: plus  0.3
%% answer: times  0.25
%% answer: minus  0.65
%% answer: quotient  0.25
%% answer: largest  0.45
%% answer: smallest  0.15

0.1+0.2::plus.
0.5*0.5::times.
1-0.35::minus.
(1/3)*(3/4)::quotient.
max(0.15, 0.45)::largest.
min(0.15, 0.45)::smallest.

query(plus).
query(times).
query(minus).
query(quotient).
query(largest).
query(smallest).
