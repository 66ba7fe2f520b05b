% Evidence on an atom that depends on a positive cycle.
%% answer: edge(1,2)  0.5833333333333334
%% answer: edge(1,3)  0.7333333333333333
%% answer: reach(1,1)  0.4
%% answer: reach(2,1)  0.1

0.5::edge(1, 2).
0.4::edge(2, 3).
0.6::edge(3, 1).
0.2::edge(1, 3).

reach(X, Y) :- edge(X, Y).
reach(X, Y) :- edge(X, Z), reach(Z, Y).

query(edge(1, 2)).
query(edge(1, 3)).
query(reach(1, 1)).
query(reach(2, 1)).
evidence(reach(1, 3)).
evidence(reach(2, 2), false).
