% Evidence names a predicate that the program does not have.
%% error: UnknownClause

0.3::a.

query(a).
evidence(b).
