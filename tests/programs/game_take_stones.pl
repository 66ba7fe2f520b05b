% A game of stones by stratified negation: a position wins when some move leads to a losing one.
%% answer: wins(3)  0.5
%% answer: wins(4)  0.5
%% answer: wins(5)  1
%% answer: wins(6)  0.5

0.5::rule(take_three).

move(N, M) :- N >= 1, M is N - 1.
move(N, M) :- N >= 2, M is N - 2.
move(N, M) :- N >= 3, rule(take_three), M is N - 3.
wins(N) :- move(N, M), \+ wins(M).

query(wins(3)).
query(wins(4)).
query(wins(5)).
query(wins(6)).
