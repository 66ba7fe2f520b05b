% The orders of a list that begin with a given element.
%% answer: order([2, 1, 3])  0.25
%% answer: order([2, 3, 1])  0.25
%% answer: order([1, 2, 3])  0.75

:- use_module(library(lists)).

0.25::swap.

order(L) :- swap, permutation([1, 2, 3], L), L = [2 | _].
order([1, 2, 3]) :- \+ swap.

query(order(_)).
