% Two predicates that call each other: a row of coins has an even or an odd number of heads.
%% answer: even(4)  0.4976
%% answer: odd(4)  0.5024

0.3::heads(1).
0.6::heads(2).
0.2::heads(3).
0.45::heads(4).

even(0).
even(N) :- N > 0, M is N - 1, tails(N), even(M).
even(N) :- N > 0, M is N - 1, heads(N), odd(M).
odd(N) :- N > 0, M is N - 1, tails(N), odd(M).
odd(N) :- N > 0, M is N - 1, heads(N), even(M).
tails(N) :- \+ heads(N).

query(even(4)).
query(odd(4)).
