% max_list/2, min_list/2 and the extremes of a random set.
%% answer: best(7)  0.4
%% answer: best(5)  0.54
%% answer: best(3)  0.03
%% answer: worst(3)  0.5
%% answer: worst(5)  0.45
%% answer: worst(7)  0.02

:- use_module(library(lists)).

0.5::score(3).
0.4::score(7).
0.9::score(5).

best(M) :- findall(S, score(S), L), max_list(L, M).
worst(M) :- findall(S, score(S), L), min_list(L, M).

query(best(_)).
query(worst(_)).
