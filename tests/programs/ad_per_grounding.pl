% An annotated disjunction with a variable: one independent choice for each child.
%% answer: eats(ida,soup)  0.5
%% answer: eats(ida,rice)  0.2
%% answer: same(soup)  0.125
%% answer: same(rice)  0.008
%% answer: shared(rice)  0.04
%% answer: hungry(jo)  0.3

child(ida).
child(jo).
child(kim).

0.5::eats(X, soup); 0.2::eats(X, rice) :- child(X).

same(D) :- eats(ida, D), eats(jo, D), eats(kim, D).
shared(D) :- eats(ida, D), eats(jo, D).
hungry(X) :- child(X), \+ eats(X, _).

query(eats(ida, _)).
query(same(_)).
query(shared(rice)).
query(hungry(jo)).
