% The weights of an annotated disjunction are looked up in facts.
%% answer: home(1)  0.2
%% answer: home(2)  0.55
%% answer: away(1)  0.3
%% answer: away(2)  0.45
%% answer: draw(1)  0.5
%% answer: draw(2)  0

odds(1, 0.2, 0.3).
odds(2, 0.55, 0.45).

P::home(X); Q::away(X) :- odds(X, P, Q).
draw(X) :- odds(X, _, _), \+ home(X), \+ away(X).

query(home(_)).
query(away(_)).
query(draw(_)).
