% member/2 lives in library(lists), which this program does not load.
%% error: UnknownClause

0.3::a.
b(X) :- a, member(X, [1, 2]).

query(b(_)).
