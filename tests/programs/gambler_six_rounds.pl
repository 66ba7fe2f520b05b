% A gambler with 3 coins plays six rounds and stops at 0 or at 5.
%% answer: coins(6,5)  0.364759453125
%% answer: coins(6,3)  0.197091984375
%% answer: coins(6,1)  0.148240125
%% answer: coins(6,0)  0.2899084375

0.45::win(T) :- between(1, 6, T).

coins(0, 3).
coins(T, K) :- T > 0, S is T - 1, coins(S, J), J > 0, J < 5, win(T), K is J + 1.
coins(T, K) :- T > 0, S is T - 1, coins(S, J), J > 0, J < 5, \+ win(T), K is J - 1.
coins(T, 0) :- T > 0, S is T - 1, coins(S, 0).
coins(T, 5) :- T > 0, S is T - 1, coins(S, 5).

query(coins(6, _)).
