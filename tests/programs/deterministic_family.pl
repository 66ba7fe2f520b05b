% A program without probabilities: every answer is certain.
%% answer: ancestor(eva,finn)  1
%% answer: ancestor(eva,gro)  1
%% answer: ancestor(eva,hal)  1
%% answer: ancestor(eva,iris)  1
%% answer: sibling(gro,finn)  1
%% answer: childless(hal)  1
%% answer: childless(iris)  1
%% answer: sibling(hal,iris)  0

parent(eva, finn).
parent(eva, gro).
parent(finn, hal).
parent(gro, iris).

ancestor(X, Y) :- parent(X, Y).
ancestor(X, Y) :- parent(X, Z), ancestor(Z, Y).
sibling(X, Y) :- parent(P, X), parent(P, Y), X \= Y.
childless(X) :- parent(_, X), \+ parent(X, _).

query(ancestor(eva, _)).
query(sibling(gro, _)).
query(childless(_)).
query(sibling(hal, iris)).
