% Parity by recursion through negation; the argument shrinks, so there is no negative cycle.
%% answer: odd(4)  0.5
%% answer: odd(3)  0.5

0.5::bit(1).
0.2::bit(2).
0.7::bit(3).
0.9::bit(4).

odd(N) :- N > 0, bit(N), M is N - 1, \+ odd(M).
odd(N) :- N > 0, \+ bit(N), M is N - 1, odd(M).
odd(0) :- fail.

query(odd(4)).
query(odd(3)).
