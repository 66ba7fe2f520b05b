% Negative numbers: // rounds down, and mod has the sign of the divisor.
%% answer: quotient(-4)  0.5
%% answer: quotient(3)  0.25
%% answer: quotient(-1)  0.25
%% answer: rest(2)  0.75
%% answer: rest(1)  0.25
%% answer: size(7)  0.75
%% answer: size(1)  0.25
%% answer: below_zero  0.75
%% answer: opposite(7)  0.5
%% answer: opposite(-7)  0.25
%% answer: opposite(1)  0.25

0.5::n(-7); 0.25::n(7); 0.25::n(-1).

quotient(Q) :- n(N), Q is N // 2.
rest(R) :- n(N), R is N mod 3.
size(S) :- n(N), S is abs(N).
below_zero :- n(N), N < 0.
opposite(M) :- n(N), M is -N.

query(quotient(_)).
query(rest(_)).
query(size(_)).
query(below_zero).
query(opposite(_)).
