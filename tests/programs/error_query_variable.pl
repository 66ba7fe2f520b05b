% A query that is a bare variable.
%% error: GroundingError

0.3::a.

query(_).
