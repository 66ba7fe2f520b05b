% Arithmetic on a variable that nothing binds.
%% error: CallModeError

0.5::n(1).
double(Y) :- n(_), Y is X * 2.

query(double(_)).
