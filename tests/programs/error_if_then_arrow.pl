% The if-then-else arrow is not part of the language.
%% error: UnknownClause

0.5::p.
q(yes) :- (p -> true ; fail).

query(q(_)).
