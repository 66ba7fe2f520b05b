% The set of nodes that can be reached, as a sorted list, in a graph with a cycle; all/3 is set-based.
%% answer: area([1, 2, 3])  0.12
%% answer: area([1, 2])  0.08
%% answer: area([2, 3])  0.18
%% answer: area([2])  0.12
%% answer: area([1])  0
%% answer: area([3])  0
%% answer: area([1, 3])  0

0.5::edge(1, 2).
0.4::edge(2, 1).
0.6::edge(2, 3).

reach(X, Y) :- edge(X, Y).
reach(X, Y) :- edge(X, Z), reach(Z, Y).
area(S) :- all(Y, reach(1, Y), L), sort(L, S).

query(area(_)).
