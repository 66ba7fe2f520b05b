% The sum of a choice exceeds 1 only for one grounding of its weights.
%% error: InvalidValue

odds(1, 0.2, 0.3).
odds(2, 0.6, 0.5).
P::home(X); Q::away(X) :- odds(X, P, Q).

query(home(_)).
query(away(_)).
