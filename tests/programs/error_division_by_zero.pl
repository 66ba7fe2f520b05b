% Division by a value that can be zero.
%% error: ArithmeticError

0.5::n(0); 0.5::n(2).
share(S) :- n(N), S is 6 / N.

query(share(_)).
