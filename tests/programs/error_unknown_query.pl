% The query itself names a predicate with another arity than the program has.
%% error: UnknownClause

0.3::p(1).

query(p(1, _)).
