% A probabilistic fact that is also stated as certain is certain.
%% answer: open(door)  1
%% answer: open(window)  0.2

0.2::open(door).
open(door).
0.2::open(window).

query(open(_)).
