% A probabilistic fact with a variable: each ground call is its own independent coin.
%% answer: winner(ann)  0.35
%% answer: winner(bo)  0.35
%% answer: somebody  0.5775
%% answer: twice  0.35

0.35::lucky(_).
person(ann).
person(bo).

winner(X) :- person(X), lucky(X).
somebody :- winner(_).
twice :- winner(ann), lucky(ann).

query(winner(_)).
query(somebody).
query(twice).
