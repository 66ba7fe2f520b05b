% Negating an unknown predicate is not the same as negating a false one.
%% error: UnknownClause

0.3::a.
b :- a, \+ c.

query(b).
