% A variable of the body that is not in the head still gives one choice a grounding.
%% answer: answers(ann)  0.64
%% answer: answers(bo)  0.4

phone(ann, home).
phone(ann, work).
phone(bo, home).

0.4::answers(X) :- phone(X, _).

query(answers(_)).
