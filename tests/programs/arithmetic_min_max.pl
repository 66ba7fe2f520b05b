% min, max and the spread of two random numbers.
%% answer: high(2)  0.35
%% answer: high(4)  0.45
%% answer: high(6)  0.2
%% answer: low(1)  0.5
%% answer: low(2)  0.35
%% answer: low(4)  0.15
%% answer: spread(0)  0.09
%% answer: spread(1)  0.35
%% answer: spread(2)  0.27
%% answer: spread(3)  0.15
%% answer: spread(4)  0.14
%% answer: spread(-2)  0
%% answer: spread(5)  0

0.5::x(1); 0.3::x(4); 0.2::x(6).
0.7::y(2); 0.3::y(4).

low(M) :- x(X), y(Y), M is min(X, Y).
high(M) :- x(X), y(Y), M is max(X, Y).
spread(S) :- low(L), high(H), S is H - L.

query(low(_)).
query(high(_)).
query(spread(_)).
