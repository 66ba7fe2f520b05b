% A probabilistic subgoal used by several queries and twice in one proof.
%% answer: runs(1)  0.54
%% answer: runs(2)  0.48
%% answer: either  0.588
%% answer: both  0.432
%% answer: exactly_one  0.156

0.6::power.
0.9::pump(1).
0.8::pump(2).

runs(N) :- power, pump(N).
either :- runs(1).
either :- runs(2).
both :- runs(1), runs(2).
exactly_one :- either, \+ both.

query(runs(_)).
query(either).
query(both).
query(exactly_one).
