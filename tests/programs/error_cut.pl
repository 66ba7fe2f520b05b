% The cut is not part of the language.
%% error: UnknownClause

0.5::p(1).
0.5::p(2).
first(X) :- p(X), !.

query(first(_)).
