% A character that does not belong to the language.
%% error: UnexpectedCharacter

0.3::a.
b :- a, {a}.

query(b).
