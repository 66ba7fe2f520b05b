% reverse/2, and sort/2 which drops duplicates.
%% answer: back([2, 1, 3])  0.2
%% answer: back([1, 2, 2])  0.5
%% answer: back([])  0.3
%% answer: ordered([1, 2, 3])  0.2
%% answer: ordered([1, 2])  0.5
%% answer: ordered([])  0.3
%% answer: size(3)  0.2
%% answer: size(2)  0.5
%% answer: size(0)  0.3

:- use_module(library(lists)).

0.2::hand([3, 1, 2]); 0.5::hand([2, 2, 1]); 0.3::hand([]).

back(R) :- hand(L), reverse(L, R).
ordered(S) :- hand(L), sort(L, S).
size(N) :- ordered(S), length(S, N).

query(back(_)).
query(ordered(_)).
query(size(_)).
