% A body calls a predicate that has no clause: a misspelt name.
%% error: UnknownClause

0.3::burglary.
alarm :- burglery.

query(alarm).
