% How many guests come: findall and length; the empty list counts as 0.
%% answer: coming([1, 2, 3])  0.04
%% answer: coming([1, 2])  0.16
%% answer: coming([1, 3])  0.06
%% answer: coming([1])  0.24
%% answer: coming([2, 3])  0.04
%% answer: coming([2])  0.16
%% answer: coming([3])  0.06
%% answer: coming([])  0.24
%% answer: count(0)  0.24
%% answer: count(1)  0.46
%% answer: count(2)  0.26
%% answer: count(3)  0.04

0.5::guest(1).
0.4::guest(2).
0.2::guest(3).

coming(L) :- findall(X, guest(X), L).
count(N) :- coming(L), length(L, N).

query(coming(_)).
query(count(_)).
