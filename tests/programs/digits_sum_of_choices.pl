% The sum of two independent choices: decomposable and deterministic as grounded, no compilation needed.
%% answer: sum(0)  0.03
%% answer: sum(1)  0.09
%% answer: sum(2)  0.31
%% answer: sum(3)  0.29
%% answer: sum(4)  0.28

0.1::left(0); 0.2::left(1); 0.7::left(2).
0.3::right(0); 0.3::right(1); 0.4::right(2).

sum(S) :- left(X), right(Y), S is X + Y.

query(sum(_)).
