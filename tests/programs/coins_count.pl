% The number of heads of five unequal coins, counted by recursion.
%% answer: count(5,0)  0.0012
%% answer: count(5,1)  0.0214
%% answer: count(5,2)  0.1274
%% answer: count(5,3)  0.3274
%% answer: count(5,4)  0.3714
%% answer: count(5,5)  0.1512
%% answer: most  0.5226

0.5::heads(1).
0.6::heads(2).
0.7::heads(3).
0.8::heads(4).
0.9::heads(5).

count(0, 0).
count(N, K) :- N > 0, M is N - 1, heads(N), count(M, J), K is J + 1.
count(N, K) :- N > 0, M is N - 1, \+ heads(N), count(M, K).
most :- count(5, K), K >= 4.

query(count(5, _)).
query(most).
