% The probability is computed in the body and is an argument of the head as well.
%% answer: rank(1,0.125)  0.125
%% answer: rank(2,0.25)  0.25
%% answer: rank(3,0.375)  0.375

P::rank(X, P) :- between(1, 3, X), P is X / 8.

query(rank(_, _)).
