% A predicate that the language has already.
%% error: AccessError

0.5::item(1).
number(X) :- item(X).

query(number(_)).
