% All six comparisons between two random numbers.
%% answer: at_least  0.6
%% answer: at_most  0.82
%% answer: equal  0.42
%% answer: greater  0.18
%% answer: less  0.4
%% answer: sum_above  0.12
%% answer: unequal  0.58

0.2::x(1); 0.5::x(2); 0.3::x(3).
0.6::y(2.0); 0.4::y(3).

less :- x(X), y(Y), X < Y.
at_most :- x(X), y(Y), X =< Y.
greater :- x(X), y(Y), X > Y.
at_least :- x(X), y(Y), X >= Y.
equal :- x(X), y(Y), X =:= Y.
unequal :- x(X), y(Y), X =\= Y.
sum_above :- x(X), y(Y), X + Y > 5.

query(less).
query(at_most).
query(greater).
query(at_least).
query(equal).
query(unequal).
query(sum_above).
