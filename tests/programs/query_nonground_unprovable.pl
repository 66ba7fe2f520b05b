% A query with a variable that has no answer lists itself, its variable renamed, with probability 0.
%% answer: q(X2)  0

0.3::p(1).
q(X) :- p(X), X > 1.

query(q(_)).
