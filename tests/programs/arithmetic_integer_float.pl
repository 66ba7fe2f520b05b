% Division with / gives a float, // and sums of integers stay integers.
%% answer: half(2.0)  0.5
%% answer: half(3.0)  0.5
%% answer: whole(2)  0.5
%% answer: whole(3)  0.5
%% answer: plus(5)  0.5
%% answer: plus(7)  0.5
%% answer: plus_float(5.0)  0.5
%% answer: plus_float(7.0)  0.5
%% answer: half(2)  0

0.5::n(4); 0.5::n(6).

half(H) :- n(N), H is N / 2.
whole(H) :- n(N), H is N // 2.
plus(X) :- n(N), X is N + 1.
plus_float(X) :- n(N), X is N + 1.0.

query(half(_)).
query(whole(_)).
query(plus(_)).
query(plus_float(_)).
query(half(2)).
query(half(2.0)).
