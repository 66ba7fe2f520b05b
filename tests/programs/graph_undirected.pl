% Connectedness of an undirected graph; all four nodes joined.
%% answer: all_joined  0.303
%% answer: joined(1,2)  0.5496
%% answer: joined(1,3)  0.366
%% answer: joined(1,4)  0.3984

0.5::wire(1, 2).
0.4::wire(2, 3).
0.7::wire(3, 4).
0.2::wire(4, 1).
0.3::wire(2, 4).

link(X, Y) :- wire(X, Y).
link(X, Y) :- wire(Y, X).
joined(X, X).
joined(X, Y) :- link(X, Z), joined(Z, Y).
all_joined :- joined(1, 2), joined(1, 3), joined(1, 4).

query(joined(1, 2)).
query(joined(1, 3)).
query(joined(1, 4)).
query(all_joined).
