% Certain arithmetic by recursion: Fibonacci numbers and greatest common divisors.
%% answer: fib(20,6765)  1
%% answer: gcd(84,36,12)  1
%% answer: gcd(17,5,1)  1

fib(0, 0).
fib(1, 1).
fib(N, F) :- N > 1, A is N - 1, B is N - 2, fib(A, X), fib(B, Y), F is X + Y.

gcd(A, 0, A) :- A > 0.
gcd(A, B, G) :- B > 0, R is A mod B, gcd(B, R, G).

query(fib(20, _)).
query(gcd(84, 36, _)).
query(gcd(17, 5, 1)).
