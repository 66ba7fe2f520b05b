% The weight of a random selection: findall and sum_list.
%% answer: heavy  0.201
%% answer: load(0)  0.063
%% answer: load(2)  0.279
%% answer: load(4)  0.171
%% answer: load(6)  0.286
%% answer: load(8)  0.139
%% answer: load(10)  0.019
%% answer: load(12)  0.031
%% answer: load(14)  0.012

:- use_module(library(lists)).

0.5::packed(tent, 4).
0.3::packed(stove, 2).
0.8::packed(rope, 2).
0.1::packed(food, 6).

load(S) :- findall(W, packed(_, W), Ws), sum_list(Ws, S).
heavy :- load(S), S > 6.

query(load(_)).
query(heavy).
