% Negation of an atom that depends on a positive cycle.
%% answer: cut_off(1)  0.7
%% answer: cut_off(2)  0.5
%% answer: cut_off(3)  0.39

0.5::edge(1, 2).
0.6::edge(2, 1).
0.7::edge(2, 3).
0.4::edge(1, 3).

reach(X) :- edge(1, X).
reach(X) :- reach(Y), edge(Y, X).
node(1).
node(2).
node(3).
cut_off(X) :- node(X), \+ reach(X).

query(cut_off(_)).
