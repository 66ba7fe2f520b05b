% A comparison with a variable that nothing binds.
%% error: CallModeError

0.5::n(1).
small :- X < 3, n(X).

query(small).
