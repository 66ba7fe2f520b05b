% A probabilistic fact with a variable that the query leaves open.
%% error: NonGroundProbabilisticClause

0.3::likes(ann, _).

query(likes(ann, _)).
