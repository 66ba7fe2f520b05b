% The probability is a variable that the body does not bind.
%% error: NonGroundProbabilisticClause

0.3::b.
P::a :- b.

query(a).
