% A probabilistic rule is a fresh coin for each instance.
%% answer: step(1)  0.5
%% answer: step(3)  0.125

0.5::step(N) :- N > 0, M is N - 1, step(M).
step(0).

query(step(1)).
query(step(3)).
